// Address of the page after `#`: the path of a view and the state of that view (filters, sort
// order, time range). Reload, back and a copied link restore that state.

// Time without input after which typed text is written to the address. Browsers limit the writes.
const TYPED_MS = 250;

// Returns {parts, terms} of an address. Pure.
export function parseAddress(hash) {
  // A login link is not a page; `startSession` removes it from the address.
  if (hash.startsWith("#link=")) return { parts: [""], terms: {} };
  const [path, ...query] = hash.replace(/^#\/?/, "").split("?");
  try {
    return { parts: path.split("/").map(decodeURIComponent), terms: Object.fromEntries(new URLSearchParams(query.join("?"))) };
  } catch {
    return { parts: [""], terms: {} };
  }
}

// Returns the address of a view. Empty terms are omitted. Pure.
export function formatAddress(parts, terms) {
  const query = new URLSearchParams(Object.entries(terms || {}).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false));
  return `#/${parts.map(encodeURIComponent).join("/")}${query.size ? `?${query}` : ""}`;
}

// Address that the page shows. While the user types, the browser's address is older.
export const address = parseAddress(location.hash);

let follower = () => {};
let typing = 0;
// Last address of each list of the page, for its "back" links.
const lists = new Map();

function rememberList() {
  if (address.parts.length === 1) lists.set(address.parts[0], formatAddress(address.parts, address.terms));
}

// Writes typed text into the current entry of the browser's history.
function writeTyped() {
  if (!typing) return;
  clearTimeout(typing);
  typing = 0;
  try {
    history.replaceState(null, "", formatAddress(address.parts, address.terms));
  } catch {
    // Too many writes: the next change writes the address.
  }
}

// Calls the listener after each change. Its argument is true if the user went to another entry of
// the history, and false if text was typed.
export function followAddress(listener) {
  follower = listener;
  const moved = () => {
    clearTimeout(typing);
    typing = 0;
    Object.assign(address, parseAddress(location.hash));
    rememberList();
    follower(true);
  };
  rememberList();
  addEventListener("hashchange", moved);
  addEventListener("focusout", writeTyped);
  addEventListener("pagehide", writeTyped);
  return () => {
    removeEventListener("hashchange", moved);
    removeEventListener("focusout", writeTyped);
    removeEventListener("pagehide", writeTyped);
  };
}

// Goes to a view with a new entry in the history.
export function goTo(parts, terms) {
  writeTyped();
  const next = formatAddress(parts, terms);
  if (next === formatAddress(address.parts, address.terms)) return;
  history.pushState(null, "", next);
  Object.assign(address, parseAddress(next));
  rememberList();
  follower(true);
}

// Changes the state of the view.
export const setTerms = (changes) => goTo(address.parts, { ...address.terms, ...changes });

// Changes the state of the view while the user types: "back" does not step through each letter.
export function typeTerms(changes) {
  const next = formatAddress(address.parts, { ...address.terms, ...changes });
  Object.assign(address, parseAddress(next));
  rememberList();
  clearTimeout(typing);
  typing = setTimeout(writeTyped, TYPED_MS);
  follower(false);
}

// Returns a term of the address, or the usual value if it is missing or not one of `allowed`.
export function term(name, usual = "", allowed = null) {
  const value = Object.hasOwn(address.terms, name) ? address.terms[name] : usual;
  return allowed && !allowed.includes(value) ? usual : value;
}

// Sorting: [name, direction]. The address has the name, with `-` for the other direction.
export function sortTerm(names, usual) {
  const word = term("sort", usual);
  const name = word.replace(/^-/, "");
  return names.includes(name) ? [name, name === word ? 1 : -1] : [usual, 1];
}

export function setSortTerm([name, direction], usual) {
  const word = `${direction < 0 ? "-" : ""}${name}`;
  setTerms({ sort: word === usual ? "" : word });
}

// Address of a list with the filters that it had last.
export const listHref = (place) => lists.get(place) || formatAddress([place]);
