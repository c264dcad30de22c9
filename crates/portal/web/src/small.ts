// Small things of the pages: forms that are sent once, waiting, time that runs out.

import { rest } from "./forms.ts";
import { words } from "./words.ts";

export function sendOnce(form: HTMLFormElement): void {
  form.addEventListener("submit", (event) => {
    // After this task, so that the button that was pressed is still among what is sent.
    if (!event.defaultPrevented) window.setTimeout(() => rest(form, true));
  });
  // Whoever comes back with the browser's own button finds the form as it was.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) rest(form, false);
  });
}

/** How long to wait before looking again, in milliseconds. */
const AGAIN_MS = 1_000;

/** Follows a link to where something is still being done, so that nobody has to. */
export function again(link: HTMLAnchorElement): void {
  window.setTimeout(() => location.replace(link.href), AGAIN_MS);
}

/** Writes how long something still lasts, each second. */
export function countdown(time: HTMLTimeElement): void {
  const end = Date.parse(time.dateTime);
  if (Number.isNaN(end)) return;
  let ticking = 0;
  const show = () => {
    const left = Math.max(0, Math.round((end - Date.now()) / 1000));
    time.textContent = words.left(spell(left));
    if (left === 0) window.clearInterval(ticking);
  };
  ticking = window.setInterval(show, 1000);
  show();
}

/** Seconds in the two largest units that matter. */
export function spell(seconds: number): string {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}
