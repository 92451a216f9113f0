// Keeps the shell of the ambulance's page for a time without network, and sends what waits on this
// device when the network is back. Answers of the API and anything about a patient are never kept.
import { sendAll } from "{{ asset('sender.js') }}";
import { fact } from "{{ asset('vault.js') }}";

const NAME = "shell-{{ version }}";
const FILES = {{ files|tojson }};
const SHELLS = {{ shells|tojson }};
const PATIENCE_MS = 4000;

self.addEventListener("install", (event) => {
  const all = [...FILES, ...Object.values(SHELLS)].map((path) => new Request(path, { cache: "reload" }));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(all)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => Promise.all(names.filter((name) => name !== NAME).map((name) => caches.delete(name))));
  event.waitUntil(old.then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname, searchParams } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (FILES.includes(pathname)) {
    event.respondWith(caches.match(pathname).then((kept) => kept ?? fetch(request)));
  } else if (request.mode === "navigate" && ["/", "/crew", "/sign-in"].includes(pathname)) {
    event.respondWith(page(request, searchParams.get("lang")));
  }
});

async function page(request, wish) {
  try {
    return await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    const language = wish ?? (await fact("language")) ?? "en";
    const shell = await caches.match(SHELLS[language] ?? SHELLS.en);
    if (shell) return shell;
    throw error;
  }
}

self.addEventListener("sync", (event) => {
  if (event.tag === "outbox") event.waitUntil(send());
});

/** One sender on this device at a time; what cannot go yet makes the browser ask again. */
async function send() {
  const left = await navigator.locks.request("goldentime-outbox", { ifAvailable: true }, (lock) => (lock ? sendAll() : []));
  if (left.some(({ problem }) => problem.mayPass && problem.status !== 401)) throw new Error("some are still to go");
}
