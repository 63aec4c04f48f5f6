// Ranking of names for the search (Ctrl-K): nearer names first. Pure.

const folded = new Map();
const FOLDED_KEPT = 10000;

// Returns a text in the form in which it is compared: without case and full-width forms. The same
// names are asked for with each letter.
export function foldCase(text) {
  let form = folded.get(text);
  if (form === undefined) {
    if (folded.size >= FOLDED_KEPT) folded.clear();
    folded.set(text, (form = String(text).normalize("NFKC").toLowerCase()));
  }
  return form;
}

const SEPARATORS = /[\s\-_./:@]/;
// Longest name in which letters may be apart or wrong. In longer texts, nearly everything matches.
const FUZZY_LENGTH = 64;

// Number of skipped letters if the word's letters occur in the name in this order; -1 = they do not.
function lettersApart(word, name) {
  let at = -1;
  let skipped = 0;
  for (const letter of word) {
    const next = name.indexOf(letter, at + 1);
    if (next < 0) return -1;
    if (at >= 0) skipped += next - at - 1;
    at = next;
  }
  return skipped;
}

// Returns true if at most `most` letters are wrong, missing, added or swapped.
function isMistyped(word, name, most) {
  if (Math.abs(word.length - name.length) > most) return false;
  let older = [];
  let last = Array.from({ length: name.length + 1 }, (_, at) => at);
  for (let row = 1; row <= word.length; row += 1) {
    const now = [row];
    for (let at = 1; at <= name.length; at += 1) {
      const isSame = word[row - 1] === name[at - 1];
      now[at] = Math.min(last[at] + 1, now[at - 1] + 1, last[at - 1] + (isSame ? 0 : 1));
      if (row > 1 && at > 1 && word[row - 1] === name[at - 2] && word[row - 2] === name[at - 1]) now[at] = Math.min(now[at], older[at - 2] + 1);
    }
    [older, last] = [last, now];
  }
  return last[name.length] <= most;
}

// Returns how far a word is from a name, both in compared form: 0 = equal, null = no match.
// `mayErr`: letters of the word may be wrong.
export function distance(word, name, mayErr) {
  if (name === word) return 0;
  if (name.startsWith(word)) return 1;
  let at = name.indexOf(word);
  if (at >= 0) {
    while (at >= 0 && !SEPARATORS.test(name[at - 1])) at = name.indexOf(word, at + 1);
    return at >= 0 ? 2 : 3;
  }
  if (word.length < 2 || name.length > FUZZY_LENGTH) return null;
  const skipped = lettersApart(word, name);
  if (skipped >= 0 && skipped <= word.length * 4) return 4 + skipped / 100;
  if (!mayErr || word.length < 3) return null;
  const most = word.length < 6 ? 1 : 2;
  return [name, ...name.split(SEPARATORS)].some((part) => isMistyped(word, part, most)) ? 6 : null;
}

// Returns the entries whose names match every word, nearest first: [{entry, score}]. `nameOf`
// returns the compared names of an entry; the first one counts most. If nothing matches, the words
// may be mistyped.
export function rank(words, entries, nameOf, mayErr = false) {
  const found = [];
  for (const entry of entries) {
    const names = nameOf(entry);
    let score = 0;
    for (const word of words) {
      let best = null;
      names.forEach((name, index) => {
        const far = distance(word, name, mayErr);
        if (far !== null && (best === null || far + index < best)) best = far + index;
      });
      score = best === null || score === null ? null : score + best;
    }
    if (score !== null) found.push({ entry, score, name: names[0] });
  }
  if (!found.length && !mayErr && words.length) return rank(words, entries, nameOf, true);
  return found.sort((one, other) => one.score - other.score || one.name.length - other.name.length || (one.name < other.name ? -1 : 1));
}
