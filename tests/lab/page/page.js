// The browser's side of the lab: a Matrix client around matrix-js-sdk with a microphone that plays a file, and an ear.
// Everything a test does is a function of `window.lab`; everything that happens is appended to `lab.events`.
import * as sdk from "matrix-js-sdk";

const RATE = 48000;
const EAR = `
registerProcessor("ear", class extends AudioWorkletProcessor {
  process(inputs) {
    const channel = inputs[0][0];
    const out = new Int16Array(128);
    if (channel) for (let i = 0; i < 128; i++) out[i] = Math.max(-1, Math.min(1, channel[i])) * 32767;
    this.port.postMessage(out, [out.buffer]);
    return true;
  }
});`;

const events = [];
const calls = [];
let client;
let audio;

const now = () => performance.timeOrigin + performance.now();
const note = (what, detail = {}) => events.push({ what, at: now(), ...detail });
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(poll, ms, what) {
  const limit = now() + ms;
  for (;;) {
    const value = await poll();
    if (value) return value;
    if (now() > limit) throw new Error(`not in ${ms} ms: ${what}`);
    await wait(20);
  }
}

async function login(url, user, password) {
  for (const level of ["debug", "trace", "info"]) sdk.logger?.[level] && (sdk.logger[level] = () => {});
  const entry = sdk.createClient({ baseUrl: url });
  const said = await entry.loginRequest({
    type: "m.login.password", identifier: { type: "m.id.user", user }, password,
  });
  client = sdk.createClient({
    baseUrl: url, accessToken: said.access_token, userId: said.user_id, deviceId: said.device_id,
  });
  // What a person's browser does to a voice would also be done to the tones that are measured.
  await client.getMediaHandler().setAudioSettings({
    autoGainControl: false, echoCancellation: false, noiseSuppression: false,
  });
  audio = new AudioContext({ sampleRate: RATE });
  await audio.audioWorklet.addModule(URL.createObjectURL(new Blob([EAR], { type: "text/javascript" })));
  client.on("Call.incoming", (call) => note("incoming", { index: keep(call) }));
  client.on("Room.timeline", (event, room, toStart) => {
    if (!toStart) note("event", {
      type: event.getType(), sender: event.getSender(), room: room?.roomId, content: event.getContent(),
    });
  });
  client.on("RoomMember.membership", (event, member) => {
    if (member.userId === client.getUserId() && member.membership === "invite") client.joinRoom(member.roomId);
  });
  await client.startClient({ initialSyncLimit: 20, disableVoip: false });
  await until(() => client.getSyncState() === "PREPARED" || client.getSyncState() === "SYNCING", 20000, "first sync");
  // The client takes calls only from its second sync on.
  await until(() => client.getSyncState() === "SYNCING", 20000, "second sync");
  return { user: said.user_id, device: said.device_id };
}

function keep(call) {
  const kept = { call, started: now(), pcm: [], heardAt: null };
  calls.push(kept);
  const index = calls.length - 1;
  call.on("state", (state, old) => note("state", { index, state, old }));
  call.on("hangup", () => note("hangup", { index, reason: call.hangupReason, party: call.hangupParty }));
  call.on("error", (error) => note("error", { index, code: error.code, message: String(error) }));
  call.on("feeds_changed", (feeds) => {
    for (const feed of feeds) if (!feed.isLocal() && !kept.source) listen(kept, feed.stream, index);
    // After a hold the track comes to a stream anew, and what listened to the old one stays deaf.
    if (call.peerConn && !kept.watched) {
      kept.watched = true;
      call.peerConn.addEventListener("track", ({ track }) => listen(kept, new MediaStream([track]), index));
    }
  });
  return index;
}

function listen(kept, stream, index) {
  if (kept.source) {
    kept.source.disconnect();
    kept.ear.port.onmessage = null;
    kept.element.srcObject = null;
  }
  // The track is pulled only while an element plays it.
  kept.element = new Audio();
  kept.element.srcObject = stream;
  kept.element.play().catch(() => {}); // interrupted by the next one
  kept.source = audio.createMediaStreamSource(stream);
  kept.ear = new AudioWorkletNode(audio, "ear", { numberOfOutputs: 0 });
  kept.ear.port.onmessage = ({ data }) => {
    kept.pcm.push(data);
    if (kept.heardAt === null && data.some((sample) => Math.abs(sample) > 300)) {
      kept.heardAt = now();
      note("heard", { index });
    }
  };
  kept.source.connect(kept.ear);
}

async function direct(user) {
  const known = client.getAccountData("m.direct")?.getContent() ?? {};
  for (const id of known[user] ?? []) {
    const member = client.getRoom(id)?.getMember(user);
    if (member?.membership === "join") return id;
  }
  const { room_id: id } = await client.createRoom({
    preset: "trusted_private_chat", is_direct: true, invite: [user], room_version: "11",
  });
  await client.setAccountData("m.direct", { ...known, [user]: [...(known[user] ?? []), id] });
  await joined(id, user);
  return id;
}

const joined = (room, user) =>
  until(() => client.getRoom(room)?.getMember(user)?.membership === "join", 15000, `${user} in the room`);

async function place(room) {
  const call = sdk.createNewMatrixCall(client, room);
  const index = keep(call);
  await call.placeVoiceCall();
  return index;
}

// A call that rings; of this caller when one is named, since others may still be on their way.
const incoming = (seen, ms, caller) => {
  const fits = ({ what, index }) =>
    what === "incoming" && (!caller || calls[index].call.getOpponentMember()?.userId === caller);
  return until(() => events.slice(seen).find(fits), ms, "a call").then((event) => event.index);
};

const state = (index, wanted, ms) =>
  until(() => calls[index].call.state === wanted, ms, `call ${wanted}, but it is ${calls[index].call.state}`);

function heard(index) {
  const kept = calls[index];
  const bytes = new Uint8Array(kept.pcm.length * 256);
  kept.pcm.forEach((block, at) => bytes.set(new Uint8Array(block.buffer), at * 256));
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

const forget = (index) => { calls[index].pcm = []; };

async function stats(index) {
  const report = await calls[index].call.peerConn.getStats();
  const of = (kind, where = () => true) => [...report.values()].find((one) => one.type === kind && where(one)) ?? {};
  const inbound = of("inbound-rtp");
  const pair = of("candidate-pair", (one) => one.nominated && one.state === "succeeded");
  const transport = of("transport");
  return {
    packetsReceived: inbound.packetsReceived ?? 0,
    packetsLost: inbound.packetsLost ?? 0,
    packetsSent: of("outbound-rtp").packetsSent ?? 0,
    jitter: inbound.jitter ?? 0,
    concealed: inbound.concealedSamples ?? 0,
    samples: inbound.totalSamplesReceived ?? 0,
    energy: inbound.totalAudioEnergy ?? 0,
    duration: inbound.totalSamplesDuration ?? 0,
    bufferDelay: inbound.jitterBufferDelay ?? 0,
    bufferCount: inbound.jitterBufferEmittedCount ?? 0,
    codec: report.get(inbound.codecId)?.mimeType ?? "",
    cipher: transport.srtpCipher ?? "",
    tls: transport.tlsVersion ?? "",
    roundTrip: pair.currentRoundTripTime ?? null,
    local: report.get(pair.localCandidateId)?.candidateType ?? "",
    remote: report.get(pair.remoteCandidateId)?.candidateType ?? "",
  };
}

const act = (index, verb, ...rest) => calls[index].call[verb](...rest);

window.lab = {
  now, events, login, direct, joined, place, incoming, state, heard, forget, stats,
  answer: (index) => act(index, "answer", true, false),
  reject: (index) => act(index, "reject"),
  hangUp: (index) => act(index, "hangup", "user_hangup", false),
  digit: (index, digit) => act(index, "sendDtmfDigit", digit),
  hold: (index, held) => act(index, "setRemoteOnHold", held),
  mute: (index, muted) => act(index, "setMicrophoneMuted", muted),
  relay: (only) => { client.forceTURN = only; },
  say: (room, text) => client.sendTextMessage(room, text),
  rooms: () => client.getRooms().map((room) => room.roomId),
  call: (index) => {
    const { call, started, heardAt } = calls[index];
    return {
      id: call.callId, state: call.state, room: call.roomId, started, heardAt,
      reason: call.hangupReason ?? null, party: call.ourPartyId, outbound: call.direction === "outbound",
    };
  },
  logout: async () => { client.stopClient(); await client.logout(true); },
};
