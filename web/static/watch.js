// Pages without a stream: they ask every so often, and say how old what they show is.

import { refusal } from "./page.js";
import { heard, showConnection } from "./live.js";

const LOOK_MS = 500;

/** Do look() now and every so often until the sign-in ends; what it learns is as of now. */
export async function watch(look, everyMs) {
  setInterval(() => showConnection(true), LOOK_MS);
  for (;;) {
    try {
      await look();
      heard();
    } catch (problem) {
      if (refusal(problem).status === 401) return;
    }
    await new Promise((wake) => setTimeout(wake, everyMs));
  }
}
