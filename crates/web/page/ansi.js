// Terminal colours in log lines. Pure: text in, pieces out; no piece is ever markup.

const ESCAPE = /\u001b\[([0-9;]*)m|\u001b\[[0-9;?]*[A-Za-z]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g;

export function ansiPieces(text) {
  if (!text.includes("\u001b")) return [{ text, cls: "" }];
  const pieces = [];
  let style = { color: null, bold: false, dim: false, italic: false, underline: false };
  let from = 0;
  const cls = () => [style.color !== null && `a${style.color}`, style.bold && "ab", style.dim && "ad", style.italic && "ai", style.underline && "au"].filter(Boolean).join(" ");
  const push = (end) => end > from && pieces.push({ text: text.slice(from, end), cls: cls() });
  for (const match of text.matchAll(ESCAPE)) {
    push(match.index);
    from = match.index + match[0].length;
    if (match[1] === undefined) continue;
    const codes = match[1].split(";").map(Number);
    for (let at = 0; at < codes.length; at += 1) {
      const code = codes[at];
      if (code === 0) style = { color: null, bold: false, dim: false, italic: false, underline: false };
      else if (code === 1) style.bold = true;
      else if (code === 2) style.dim = true;
      else if (code === 3) style.italic = true;
      else if (code === 4) style.underline = true;
      else if (code === 22) style.bold = style.dim = false;
      else if (code === 23) style.italic = false;
      else if (code === 24) style.underline = false;
      else if (code >= 30 && code <= 37) style.color = code - 30;
      else if (code >= 90 && code <= 97) style.color = code - 90 + 8;
      else if (code === 39) style.color = null;
      else if (code === 38) {
        // 256 colours: only the first 16 have a name here.
        style.color = codes[at + 1] === 5 && codes[at + 2] < 16 ? codes[at + 2] : null;
        at += codes[at + 1] === 5 ? 2 : 4;
      }
    }
  }
  push(text.length);
  return pieces;
}
