"""Worlds with a user agent on one end and a script, or another user agent, on the other."""

import pytest

from tests.sip.world import Phone, Script, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def alice(world: World) -> Phone:
    return world.phone("alice")


@pytest.fixture
def bob(world: World) -> Phone:
    return world.phone("bob")


@pytest.fixture
def pbx(world: World, alice: Phone) -> Script:
    """A scripted peer at the other end of alice's connection."""
    script = Script(world)
    world.link(alice, script)
    return script
