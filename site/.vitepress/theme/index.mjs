// The fonts of the system: nothing to load, and Chinese as the reader's machine shows it.
export { default } from "vitepress/theme-without-fonts";
