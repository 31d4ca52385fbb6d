"""The numbered migrations, each in a module of its own: `vNN_what_it_adds.py`.

The order of registration is the order of the versions. A migration that has been released is never
changed; the next one is added instead.
"""

from mautrix.util.async_db import UpgradeTable

from bridge.db.upgrade import (
    v01_inbox,
    v02_people,
    v03_roads,
    v04_departures,
    v05_polls,
    v06_reconciled,
    v07_folded,
    v08_senders,
    v09_files,
    v10_groups,
    v11_read,
    v12_begun,
    v13_untold,
)

upgrade_table = UpgradeTable(database_name="Ringback's database")
upgrade_table.register(v01_inbox.upgrade, description="inbox of room events")
upgrade_table.register(v02_people.upgrade, description="portals, ghosts and texts")
upgrade_table.register(v03_roads.upgrade, description="roads of texts")
upgrade_table.register(v04_departures.upgrade, description="texts that leave again")
upgrade_table.register(v05_polls.upgrade, description="how far roads have been polled")
upgrade_table.register(v06_reconciled.upgrade, description="events that were not pushed")
upgrade_table.register(v07_folded.upgrade, description="texts that are not said at once")
upgrade_table.register(v08_senders.upgrade, description="what is known of senders")
upgrade_table.register(v09_files.upgrade, description="files that leave with texts")
upgrade_table.register(v10_groups.upgrade, description="who writes in a group")
upgrade_table.register(v11_read.upgrade, description="who wants to know of a text being read")
upgrade_table.register(v12_begun.upgrade, description="portals whose room is being made")
upgrade_table.register(v13_untold.upgrade, description="what became of texts and was not told")
