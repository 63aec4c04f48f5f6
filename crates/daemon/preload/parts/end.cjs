// Last: all of the above is there now.
hideFrom(process.execArgv);
hideFromChildren(process.env);
const settings = takeSettings();
// Without settings this is not the process that ostler started, but a thread or a child of it: nothing to do here.
if (settings) quietly(start)(settings);
