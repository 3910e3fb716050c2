// Loaded before the client (`node --require`): sends what is meant for its hosts to the emulator, as it was written.
// The client knows regions and environments, no other hosts, and asks for everything by the global `fetch`.
'use strict';

const {fetch: original} = globalThis;
const HOST = /^https:\/\/(?:api|platform)\.cloud\.coveo\.com(?=\/)/;

globalThis.fetch = (address, options) => original(String(address).replace(HOST, process.env.EMULATOR_URL), options);
