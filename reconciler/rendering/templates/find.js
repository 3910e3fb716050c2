"use strict";
(() => {
  const form = document.querySelector("form.find");
  const [words, kind, verb, scope] = ["words", "kind", "verb", "scope"].map((name) => form.elements[name]);
  const access = form.elements.access;
  const entries = [...document.querySelectorAll("[data-find]")].map((element) => ({
    element,
    text: element.textContent.toLowerCase(),
    group: element.closest("[data-kind]"),
  }));
  const groups = [...document.querySelectorAll(".group")];
  const fits = (entry, wanted) => {
    const group = entry.group;
    if (!wanted.every((word) => entry.text.includes(word))) return false;
    if (access.checked && group && !entry.element.hasAttribute("data-access")) return false;
    if (!kind.value && !verb.value && !scope.value) return true;
    return (
      group !== null &&
      (!kind.value || group.dataset.kind === kind.value) &&
      (!verb.value || group.dataset.verb === verb.value) &&
      (!scope.value || group.dataset.scope === scope.value)
    );
  };
  const find = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    let changes = 0;
    for (const entry of entries) {
      const found = fits(entry, wanted);
      entry.element.hidden = !found;
      if (entry.group) {
        changes += 1;
        shown += found ? 1 : 0;
      }
    }
    for (const group of groups) group.hidden = group.querySelector("[data-find]:not([hidden])") === null;
    const all = shown === changes;
    form.elements.count.value = all ? "" : `${shown.toLocaleString("en")} of ${changes.toLocaleString("en")} entries`;
  };
  form.addEventListener("input", find);
  form.addEventListener("reset", () => setTimeout(find));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
})();
