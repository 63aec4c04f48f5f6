// ---- Profiles --------------------------------------------------------------------------------------------------------------------------

/** What each kind asks V8's inspector for, at first and in the end, and the ending of its file. */
const PROFILES = {
  cpu: { ending: 'cpuprofile', first: ['Profiler.enable', 'Profiler.start'], last: 'Profiler.stop' },
  memory: { ending: 'heapprofile', first: ['HeapProfiler.startSampling'], last: 'HeapProfiler.stopSampling' },
  heap: { ending: 'heapsnapshot', first: [], last: 'HeapProfiler.takeHeapSnapshot' },
};
let isProfiling = false;

/** Takes a profile of this process, into a file that is the app's own, and says which. No port is opened. */
function profile({ kind, ms, call }, send) {
  const say = (said) => process.connected && send.call(process, Object.assign({ cmd: COMMAND, act: 'profiled', call }, said), () => {});
  if (isProfiling) return say({ error: 'is being profiled already' });
  isProfiling = true;
  const end = (said) => {
    isProfiling = false;
    say(said);
  };
  try {
    takeProfile(PROFILES[kind], ms, (file) => end({ file }), (error) => end({ error: String((error && error.message) || error) }));
  } catch (error) {
    end({ error: String((error && error.message) || error) });
  }
}

function takeProfile({ ending, first, last }, ms, done, failed) {
  const fs = require('fs');
  const session = new (require('inspector').Session)();
  session.connect();
  const name = `ostler-${process.pid}-${Date.now()}.${ending}`;
  const file = require('path').join(require('os').tmpdir(), name);
  // Nobody else's file, and nobody else reads it.
  const fd = fs.openSync(file, 'wx', 0o600);
  const close = (error) => {
    session.disconnect();
    fs.closeSync(fd);
    if (error) fs.unlinkSync(file);
    return error ? failed(error) : done(file);
  };
  session.on('HeapProfiler.addHeapSnapshotChunk', ({ params }) => fs.writeSync(fd, params.chunk));
  const finish = () =>
    session.post(last, (error, result) => {
      try {
        if (!error && result && result.profile) fs.writeSync(fd, JSON.stringify(result.profile));
        close(error);
      } catch (problem) {
        close(problem);
      }
    });
  for (const step of first) session.post(step, (error) => error && close(error));
  if (ms > 0) setTimeout(quietly(finish), ms).unref();
  else finish();
}
