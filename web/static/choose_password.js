// Choose a password by an administrator's one-time link; its secret stands behind the # only.

import { api, notice, press, t } from "./page.js";

const form = document.getElementById("choose");
const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname); // nobody reads it off the screen
form.addEventListener("submit", (event) => {
  event.preventDefault();
  press(form.querySelector("button"), async () => {
    await api("POST", "/session/password", { secret, password: new FormData(form).get("password") });
    notice(t("choose.done"));
    setTimeout(() => location.assign("/sign-in"), 1500);
  });
});
