// A vital sign between two large buttons, and in words whether it was measured at all: markup in
// templates/vitals_fields.html. An empty field is "not measured"; nothing here makes it normal.

const of = (node) => node.closest?.("[data-stepper]");
const field = (stepper) => stepper.querySelector("input[type=number]");

/** Say of every sign in `root` whether it was measured: after a form was filled. */
export function sayWhatIsMeasured(root) {
  for (const stepper of root.querySelectorAll("[data-stepper]")) say(stepper);
}

function say(stepper) {
  const { value, validity } = field(stepper);
  stepper.querySelector("[data-not-measured]").checked = value === "" && !validity.badInput;
}

/** One step; an empty field starts where its data-start says. */
function step(button) {
  const input = field(of(button));
  const digits = (input.step.split(".")[1] ?? "").length;
  const next = input.value === "" ? Number(input.dataset.start) : Number(input.value) + Number(button.dataset.by);
  input.value = Math.min(Number(input.max), Math.max(Number(input.min), next)).toFixed(digits);
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-stepper] [data-by]");
  if (button) step(button);
});
document.addEventListener("input", ({ target }) => target.type === "number" && of(target) && say(of(target)));
document.addEventListener("change", ({ target }) => {
  if (!("notMeasured" in target.dataset)) return;
  const input = field(of(target));
  if (target.checked) input.value = "";
  else input.focus();
  say(of(target)); // the tick never says otherwise than the number
  input.dispatchEvent(new Event("input", { bubbles: true }));
});
