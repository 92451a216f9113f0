// A number between two large buttons, with an explicit "not measured": markup
//   <div class="stepper" data-stepper> button[data-by=-1] input[type=number] button[data-by=1]
//   <label class="not-measured"><input type="checkbox" data-not-measured> … </label></div>
// Works for any such element, also for those that are painted later.

/** Where an empty field starts when it is stepped: its data-start, else its lowest value. */
function stepped(input, by) {
  const step = Number(input.step) || 1;
  const [low, high] = [input.min === "" ? -Infinity : Number(input.min), input.max === "" ? Infinity : Number(input.max)];
  if (input.value === "") return Math.min(high, Math.max(low, Number(input.dataset.start ?? low)));
  const digits = (input.step.split(".")[1] ?? "").length;
  return Math.min(high, Math.max(low, Number(input.value) + by * step)).toFixed(digits);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-stepper] > button[data-by]");
  if (!button) return;
  const input = button.parentElement.querySelector("input[type=number]");
  if (input.disabled) return;
  input.value = stepped(input, Number(button.dataset.by));
  input.dispatchEvent(new Event("input", { bubbles: true }));
});

document.addEventListener("change", (event) => {
  if (!event.target.matches?.("[data-stepper] [data-not-measured]")) return;
  const stepper = event.target.closest("[data-stepper]");
  for (const node of stepper.querySelectorAll(":scope > button, :scope > input")) {
    node.disabled = event.target.checked;
  }
  if (event.target.checked) stepper.querySelector("input[type=number]").value = "";
});
