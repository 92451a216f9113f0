// What a crew entered, on its own device, sealed: drafts, cases not yet received, their films.
// AES-GCM with a key per account that no script can read out (IndexedDB keeps it); what that guards
// against and what not: docs/decisions/0020. Pages and the service worker share this file: no DOM.

const NAME = "goldentime";
const STORES = ["keys", "entries", "films", "facts"];

let opening = null;
let memory = null; // where a browser keeps nothing: Maps, gone with the page

/** False when this browser keeps nothing and an entry lives only as long as its page. */
export function lasting() {
  return memory === null;
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
  }).catch(() => {
    memory ??= new Map(STORES.map((name) => [name, new Map()]));
    return null;
  });
  return opening;
}

/** Run use(stores…) in one transaction that is on disk when this returns. */
async function transact(names, mode, use) {
  const database = await open();
  if (!database) return use(...names.map((name) => inMemory(memory.get(name))));
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

function inMemory(map) {
  return {
    get: async (id) => map.get(id),
    getAll: async () => [...map.values()],
    put: async (value, id) => map.set(id, value),
    delete: async (id) => map.delete(id),
    add: async (value, id) => {
      if (map.has(id)) throw new DOMException("it is there already", "ConstraintError");
      map.set(id, value);
    },
  };
}

async function keyOf(account) {
  const found = await transact(["keys"], "readonly", (keys) => keys.get(account));
  if (found) return found;
  const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  try {
    await transact(["keys"], "readwrite", (keys) => keys.add(made, account));
    return made;
  } catch {
    return transact(["keys"], "readonly", (keys) => keys.get(account)); // another tab was quicker
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
  return transact(["facts"], "readonly", async (facts) => (await facts.get(name)) ?? null);
}

/** Note a fact. */
export async function setFact(name, value) {
  await transact(["facts"], "readwrite", (facts) => facts.put(value, name));
}

/** Store an entry {id, account, unit, at, …}; its `content` is sealed, the rest is not clinical.
 * With fresh, an entry of that id stays as it is and false comes back: the second tap. */
export async function put({ content, ...open }, { fresh = false } = {}) {
  const sealed = await seal(open.account, open.id, new TextEncoder().encode(JSON.stringify(content)));
  try {
    await transact(["entries"], "readwrite", (entries) => entries[fresh ? "add" : "put"]({ ...open, sealed }, open.id));
    return true;
  } catch (error) {
    if (fresh && error?.name === "ConstraintError") return false;
    throw error;
  }
}

/** Every entry on this device, oldest first; `content` is null when it cannot be opened. */
export async function entries() {
  const rows = await transact(["entries"], "readonly", (store) => store.getAll());
  const opened = await Promise.all(
    rows.map(async ({ sealed, ...row }) => {
      const text = await unseal(row.account, row.id, sealed).catch(() => null);
      return { ...row, content: text && JSON.parse(new TextDecoder().decode(text)) };
    }),
  );
  return opened.sort((a, b) => a.at.localeCompare(b.at));
}

/** Store a film's bytes for an entry. Rejects with QuotaExceededError when the device is full. */
export async function putFilm(id, account, blob) {
  const sealed = await seal(account, `film:${id}`, await blob.arrayBuffer());
  await transact(["films"], "readwrite", (films) => films.put({ account, type: blob.type, sealed }, id));
}

/** An entry's film, or null. */
export async function film(id) {
  const row = await transact(["films"], "readonly", (films) => films.get(id));
  if (!row) return null;
  const bytes = await unseal(row.account, `film:${id}`, row.sealed).catch(() => null);
  return bytes && new Blob([bytes], { type: row.type });
}

/** Forget a film. */
export function removeFilm(id) {
  return transact(["films"], "readwrite", (films) => films.delete(id));
}

/** Forget an entry and its film. */
export function remove(id) {
  return transact(["entries", "films"], "readwrite", async (rows, films) => {
    await rows.delete(id);
    await films.delete(id);
  });
}

/** Sign-out: this account's entries, films and key go; without a key nothing else of it opens. */
export async function wipe(account) {
  const mine = (await transact(["entries"], "readonly", (rows) => rows.getAll())).filter((row) => row.account === account);
  await transact(["keys", "entries", "films", "facts"], "readwrite", async (keys, rows, films, facts) => {
    await keys.delete(account);
    await facts.delete("who");
    for (const { id } of mine) {
      await rows.delete(id);
      await films.delete(id);
    }
  });
}
