/**
 * What a server that has stopped to listen holds instead of its handle. To the app it listens as before: `server.close(callback)` works, gives
 * no error, and until then the process stays. A worker of Node's own cluster holds much the same.
 */
class StandIn {
  hold = setInterval(() => {}, LONGEST_TIMER);
  all;

  constructor(handle, all) {
    this.all = all.add(this);
    if (typeof handle.hasRef === 'function' && !handle.hasRef()) this.unref();
    if (typeof handle.getsockname !== 'function') return;
    const address = {};
    const result = handle.getsockname(address);
    this.getsockname = (out) => (Object.assign(out, address), result);
  }

  close(done) {
    clearInterval(this.hold);
    this.all.delete(this);
    if (typeof done === 'function') process.nextTick(done);
  }

  ref() {
    this.hold.ref();
  }

  unref() {
    this.hold.unref();
  }

  hasRef() {
    return this.hold.hasRef();
  }
}
