// Name and password to POST /session, then on to the page of the role.

import { api, config, el, paint, Problem, session, t, wordsOf } from "./page.js";

const form = document.getElementById("sign-in");
const problemBox = document.getElementById("sign-in-problem");
const button = form.querySelector("button");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.disabled) return;
  button.disabled = true;
  paint(button, t("sign_in.busy"));
  problemBox.hidden = true;
  const fields = new FormData(form);
  try {
    await api("POST", "/session", { name: fields.get("name"), password: fields.get("password") });
    location.assign(config.onward);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    problemBox.hidden = false;
    paint(problemBox, el("span", {}, wordsOf(problem)));
    form.elements.password.select();
  } finally {
    button.disabled = false;
    paint(button, t("sign_in.submit"));
  }
});

// A link in a mail comes without the cookie (SameSite), however signed in this browser is: ask.
if (config.onward !== "/") {
  session()
    .then(() => location.replace(config.onward))
    .catch(() => {});
}

// Only now: a password must never be sent by the browser's own way of submitting a form.
button.disabled = false;
