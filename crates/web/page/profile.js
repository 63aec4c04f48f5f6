// V8 profiles: converts the app's answer into a tree of functions. Pure and bounded, because an app
// may answer with anything.

const MOST_NODES = 200000;
const MOST_SAMPLES = 5000000;
const MOST_DEPTH = 400;
const TOP_FUNCTIONS = 50;
const LONGEST_NAME = 300;

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const listOf = (value) => (Array.isArray(value) ? value : []);
const wholeOf = (value) => (Number.isInteger(value) ? value : -1);
const amountOf = (value) => (Number.isFinite(value) && value > 0 ? Math.min(value, 1e15) : 0);
const textOf = (value) => (typeof value === "string" ? value.slice(0, LONGEST_NAME) : "");

// Returns the owner of the code: the app, a package, Node, or none (the engine, native code).
function ownerOf(name, file) {
  if (!file) return /^\((program|idle|garbage collector|root)\)$/.test(name) ? "engine" : "native";
  if (/^(node:|internal\/|native |wasm:\/\/)/.test(file)) return "internal";
  return file.includes("/node_modules/") ? "package" : "own";
}

function frameOf(node) {
  const frame = isObject(node.callFrame) ? node.callFrame : {};
  const file = textOf(frame.url).replace(/^file:\/\//, "");
  const name = textOf(frame.functionName) || "(anonymous)";
  const line = wholeOf(frame.lineNumber);
  return { name, file, line: line >= 0 && file ? line + 1 : 0, owner: ownerOf(name, file) };
}

// Nodes of a CPU profile with their self time in ms: [{frame, self, children}], by id.
function cpuNodes(profile) {
  const all = new Map();
  for (const node of listOf(profile.nodes).slice(0, MOST_NODES)) {
    if (isObject(node) && !all.has(node.id)) all.set(node.id, { node, frame: frameOf(node), self: 0, hits: amountOf(node.hitCount) });
  }
  const samples = listOf(profile.samples).slice(0, MOST_SAMPLES);
  const deltas = listOf(profile.timeDeltas);
  // A delta is the time up to its sample. The function in a sample ran until the next sample.
  let seen = 0;
  for (let at = 0; at < samples.length; at += 1) {
    const entry = all.get(samples[at]);
    if (!entry) continue;
    seen += 1;
    entry.self += amountOf(at + 1 < samples.length ? deltas[at + 1] : deltas[at]) / 1000;
  }
  const took = (amountOf(profile.endTime) - amountOf(profile.startTime)) / 1000;
  if (!seen) {
    const hits = [...all.values()].reduce((sum, entry) => sum + entry.hits, 0);
    for (const entry of all.values()) entry.self = hits && took > 0 ? (entry.hits / hits) * took : entry.hits;
  }
  const first = listOf(profile.nodes)[0];
  return { root: isObject(first) ? all.get(first.id) : undefined, childrenOf: (entry) => listOf(entry.node.children).map((id) => all.get(id)).filter(Boolean) };
}

// Nodes of an allocation profile with their own bytes, as a tree.
function heapNodes(profile) {
  let count = 0;
  const entryOf = (node) => {
    count += 1;
    return { node, frame: frameOf(node), self: amountOf(node.selfSize) };
  };
  const childrenOf = (entry) => listOf(entry.node.children).slice(0, Math.max(0, MOST_NODES - count)).filter(isObject).map(entryOf);
  return { root: isObject(profile.head) ? entryOf(profile.head) : undefined, childrenOf };
}

const keyOf = (frame) => `${frame.name}\n${frame.file}\n${frame.line}`;

// Returns the tree of a profile, and its functions by their self share. Returns null if the value
// is not a profile.
//
// {unit, total, idle, root: {name, file, line, owner, self, total, depth, parent, children},
// functions: [{…, self, total}], cut}
export function readProfile(value, kind) {
  if (!isObject(value)) return null;
  const { root: begin, childrenOf } = kind === "memory" ? heapNodes(value) : cpuNodes(value);
  if (!begin) return null;
  const root = { ...begin.frame, name: "(root)", owner: "engine", self: 0, total: 0, depth: 0, parent: null, children: [] };
  const seen = new Set([begin]);
  const order = [root];
  const numbers = new Map();
  const numberOf = (key) => numbers.get(key) ?? (numbers.set(key, numbers.size), numbers.size - 1);
  const queue = [[begin, root]];
  let idle = 0;
  let cut = false;
  root.self += begin.self;
  // Calls of one function by another are one frame, even if V8 compiled it several times.
  for (let at = 0; at < queue.length; at += 1) {
    const [entry, frame] = queue[at];
    for (const child of childrenOf(entry)) {
      // A node has one place in the tree; a repeated node could cause an endless loop.
      if (seen.has(child)) continue;
      seen.add(child);
      if (frame === root && child.frame.name === "(idle)") {
        idle += child.self;
        continue;
      }
      let place = frame;
      if (frame.depth < MOST_DEPTH) {
        const number = numberOf(keyOf(child.frame));
        frame.byNumber ||= new Map();
        place = frame.byNumber.get(number);
        if (!place) {
          place = { ...child.frame, number, self: 0, total: 0, depth: frame.depth + 1, parent: frame, children: [] };
          frame.byNumber.set(number, place);
          frame.children.push(place);
          order.push(place);
        }
      } else cut = true;
      place.self += child.self;
      queue.push([child, place]);
    }
  }
  // From the leaves up: parents precede their children in the list.
  for (let at = order.length - 1; at >= 0; at -= 1) {
    const frame = order[at];
    delete frame.byNumber;
    frame.total += frame.self;
    if (frame.parent) frame.parent.total += frame.total;
    frame.children.sort((one, other) => other.total - one.total || (one.name < other.name ? -1 : 1));
  }
  return { unit: kind === "memory" ? "bytes" : "ms", total: root.total, idle, root, functions: topFunctions(order), cut };
}

// Returns the functions by their self share, the largest first. The time of recursive calls counts
// once.
function topFunctions(order) {
  const all = new Map();
  for (const frame of order.slice(1)) {
    let sum = all.get(frame.number);
    if (!sum) all.set(frame.number, (sum = { name: frame.name, file: frame.file, line: frame.line, owner: frame.owner, self: 0, total: 0 }));
    sum.self += frame.self;
    let above = frame.parent;
    while (above && above.number !== frame.number) above = above.parent;
    if (!above) sum.total += frame.total;
  }
  return [...all.values()].filter((one) => one.total > 0).sort((one, other) => other.self - one.self || other.total - one.total).slice(0, TOP_FUNCTIONS);
}

// Returns the boxes of a flame graph, `width` pixels wide, below one frame: [{frame, x, width}].
// Boxes narrower than `least` are left out.
export function flameBoxes(focus, width, least) {
  if (!(focus.total > 0)) return [];
  const boxes = [{ frame: focus, x: 0, width }];
  for (let at = 0; at < boxes.length; at += 1) {
    const { frame, x } = boxes[at];
    let left = x;
    for (const child of frame.children) {
      const wide = (child.total / focus.total) * width;
      if (wide >= least) boxes.push({ frame: child, x: left, width: wide });
      left += wide;
    }
  }
  return boxes;
}
