// Where the ambulance is, while it has a case under way. The device watches; the server is told
// when it moved far enough or long enough ago, and more rarely when the battery is nearly empty.

const FAR_M = 150;
const SOON_MS = 20000; // not more often than this
const LATE_MS = 60000; // and at least this often, when the device says anything at all
const VAGUE_M = 1000;
const METRES_PER_DEGREE = 111320;

let watch = null;
let told = null; // the coordinates that were told last, and when
let sparing = 1;

navigator.getBattery?.().then((battery) => {
  const look = () => (sparing = !battery.charging && battery.level < 0.2 ? 3 : 1);
  battery.onlevelchange = battery.onchargingchange = look;
  look();
});

/** Watch while `wanted`; tell(position) hears {latitude, longitude}. Asks nobody for permission. */
export async function follow(wanted, tell) {
  if (!wanted) {
    navigator.geolocation?.clearWatch(watch);
    watch = null;
  } else if (watch === null) {
    watch = 0; // one asks at a time
    const permission = await navigator.permissions?.query({ name: "geolocation" }).catch(() => null);
    if (permission?.state === "granted") {
      watch = navigator.geolocation.watchPosition(({ coords }) => consider(coords, tell), () => {}, { enableHighAccuracy: sparing === 1 });
    } else watch = null;
  }
}

function consider(seen, tell) {
  const { latitude, longitude, accuracy } = seen;
  const now = performance.now(); // the device's clock may be set back
  const sinceMs = (now - (told?.at ?? -LATE_MS * 3)) / sparing;
  if (accuracy > VAGUE_M || sinceMs < SOON_MS) return;
  if (sinceMs < LATE_MS) {
    const north = latitude - told.latitude;
    const east = (longitude - told.longitude) * Math.cos((latitude * Math.PI) / 180);
    if (Math.hypot(north, east) * METRES_PER_DEGREE < FAR_M) return;
  }
  told = { latitude, longitude, at: now };
  tell({ latitude, longitude });
}
