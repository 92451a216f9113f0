// What a crew entered, on its own device, sealed: drafts, cases not yet received, their films.
// AES-GCM with a key per account that no script can read out (IndexedDB keeps it); what that guards
// against and what not: docs/decisions/0020. Pages and the service worker share this file: no DOM.

const NAME = "goldentime";
const STORES = ["keys", "entries", "films", "facts"];

let opening = null;
let broken = false; // this browser keeps nothing
// What the device keeps not, or had no room for, lives as long as this page, and is sent from here.
const spare = { entries: new Map(), films: new Map() };

/** False when something that was entered lives only as long as its page. */
export function lasting() {
  return !broken && !spare.entries.size && !spare.films.size;
}

function open() {
  opening ??= new Promise((done, failed) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => STORES.forEach((name) => request.result.createObjectStore(name));
    request.onsuccess = () => {
      request.result.onversionchange = () => request.result.close();
      request.result.onclose = () => (opening = null);
      done(request.result);
    };
    request.onerror = () => failed(request.error);
  }).catch((error) => {
    broken = true;
    throw error;
  });
  return opening;
}

const read = (names, use) => transact(names, "readonly", use);
const write = (names, use) => transact(names, "readwrite", use);

/** Run use(stores…) in one transaction that is on disk when this returns. */
async function transact(names, mode, use) {
  const database = await open();
  const transaction = database.transaction(names, mode, { durability: "strict" });
  const ended = new Promise((done, failed) => {
    transaction.oncomplete = () => done();
    transaction.onabort = transaction.onerror = () => failed(transaction.error);
  });
  const [result] = await Promise.all([use(...names.map((name) => asked(transaction.objectStore(name)))), ended]);
  return result;
}

/** An object store whose requests are promises. */
function asked(store) {
  return new Proxy(store, {
    get: (_, name) => (...args) =>
      new Promise((done, failed) => {
        const request = store[name](...args);
        request.onsuccess = () => done(request.result);
        request.onerror = () => failed(request.error);
      }),
  });
}

async function keyOf(account) {
  const found = await read(["keys"], (keys) => keys.get(account));
  if (found) return found;
  const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  try {
    await write(["keys"], (keys) => keys.add(made, account));
    return made;
  } catch {
    return read(["keys"], (keys) => keys.get(account)); // another tab was quicker
  }
}

/** Bytes that only this account's key opens, and only as what they were stored as. */
async function seal(account, id, bytes) {
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const additionalData = new TextEncoder().encode(id);
  const key = await keyOf(account);
  return { iv, bytes: await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData }, key, bytes) };
}

async function unseal(account, id, sealed) {
  const additionalData = new TextEncoder().encode(id);
  return crypto.subtle.decrypt({ name: "AES-GCM", iv: sealed.iv, additionalData }, await keyOf(account), sealed.bytes);
}

/** A fact about this device: "who" ({account, unit, name}; null after sign-out), "language". */
export function fact(name) {
  return read(["facts"], (facts) => facts.get(name)).catch(() => null);
}

/** Note a fact; a full device goes without it. */
export async function setFact(name, value) {
  await write(["facts"], (facts) => facts.put(value, name)).catch(() => {});
}

/** Store an entry {id, account, unit, at, …}; its `content` is sealed, the rest is not clinical.
 * With fresh, an entry of that id stays as it is and false comes back: the second tap. */
export async function put(entry, { fresh = false } = {}) {
  const { content, ...open } = entry;
  if (fresh && spare.entries.has(open.id)) return false;
  try {
    const sealed = await seal(open.account, open.id, new TextEncoder().encode(JSON.stringify(content)));
    await write(["entries"], (entries) => entries[fresh ? "add" : "put"]({ ...open, sealed }, open.id));
    spare.entries.delete(open.id);
  } catch (error) {
    if (fresh && error?.name === "ConstraintError") return false;
    spare.entries.set(open.id, { ...entry });
  }
  return true;
}

/** Every entry on this device, oldest first; `content` is null when it cannot be opened. */
export async function entries() {
  const rows = await read(["entries"], (store) => store.getAll()).catch(() => []);
  const opened = await Promise.all(
    rows.map(async ({ sealed, ...row }) => {
      const text = await unseal(row.account, row.id, sealed).catch(() => null);
      return { ...row, content: text && JSON.parse(new TextDecoder().decode(text)) };
    }),
  );
  const kept = opened.filter(({ id }) => !spare.entries.has(id));
  return [...kept, ...spare.entries.values()].sort((a, b) => a.at.localeCompare(b.at));
}

/** Store a film's bytes for an entry. */
export async function putFilm(id, account, blob) {
  try {
    const sealed = await seal(account, `film:${id}`, await blob.arrayBuffer());
    await write(["films"], (films) => films.put({ account, type: blob.type, sealed }, id));
    spare.films.delete(id);
  } catch {
    spare.films.set(id, blob);
  }
}

/** An entry's film, or null. */
export async function film(id) {
  if (spare.films.has(id)) return spare.films.get(id);
  const row = await read(["films"], (films) => films.get(id)).catch(() => null);
  if (!row) return null;
  const bytes = await unseal(row.account, `film:${id}`, row.sealed).catch(() => null);
  return bytes && new Blob([bytes], { type: row.type });
}

/** Forget a film. */
export function removeFilm(id) {
  spare.films.delete(id);
  return write(["films"], (films) => films.delete(id)).catch(() => {});
}

/** Forget an entry and its film. */
export function remove(id) {
  spare.entries.delete(id);
  spare.films.delete(id);
  return write(["entries", "films"], async (rows, films) => {
    await rows.delete(id);
    await films.delete(id);
  }).catch(() => {});
}

/** Sign-out: this account's entries, films and key go; without a key nothing else of it opens. */
export async function wipe(account) {
  for (const kept of Object.values(spare)) kept.clear();
  if (broken) return;
  const mine = (await read(["entries"], (rows) => rows.getAll())).filter((row) => row.account === account);
  await write(["keys", "entries", "films", "facts"], async (keys, rows, films, facts) => {
    await keys.delete(account);
    await facts.delete("who");
    for (const { id } of mine) {
      await rows.delete(id);
      await films.delete(id);
    }
  });
}
