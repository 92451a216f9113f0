// A film to the server over a line that breaks: tus 1.0.0 in pieces, each as long as the line bears.
// The film is named by its SHA-256, so that a break, a closed tab or a lost answer costs one piece.
// No DOM: the service worker uploads, too.

import { ask } from "./ask.js";

const TUS = { "Tus-Resumable": "1.0.0" };
const [SMALLEST, FIRST, LARGEST] = [16, 64, 1024].map((kib) => kib * 1024);
const PIECE_TIMEOUT_MS = 60000;
const LONGEST_DETOUR = 5; // answers that send us back to the start of the talk, in a row

/** SHA-256 of a film in hex. */
export async function sha256(blob) {
  const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Send what the server lacks of a film; progress(share) hears how much it has. Throws a Problem. */
export async function upload(blob, hash, progress = () => {}, signal = undefined) {
  let size = FIRST;
  for (let detours = 0; ; detours += 1) {
    const announced = await ask("POST", "/uploads", undefined, {
      headers: { ...TUS, "Upload-Length": blob.size, "Upload-Metadata": `sha256 ${btoa(hash)}` },
      signal,
    });
    const place = announced.headers.get("Location").replace("/api/v1", "");
    let offset = Number(announced.headers.get("Upload-Offset"));
    progress(offset / blob.size);
    try {
      while (offset < blob.size) {
        const began = performance.now();
        const answer = await ask("PATCH", place, blob.slice(offset, offset + size), {
          headers: { ...TUS, "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" },
          timeoutMs: PIECE_TIMEOUT_MS,
          signal,
        });
        offset = Number(answer.headers.get("Upload-Offset"));
        const seconds = (performance.now() - began) / 1000;
        if (seconds < 1) size = Math.min(LARGEST, size * 2);
        else if (seconds > 4) size = Math.max(SMALLEST, size / 2);
        detours = 0;
        progress(offset / blob.size);
      }
      return;
    } catch (problem) {
      // The upload was swept, or stands elsewhere than we thought: announcing tells where.
      if (![404, 409].includes(problem.status) || detours >= LONGEST_DETOUR) throw problem;
    }
  }
}
