/** A server with only the files that it needs: `.next/standalone`. */
module.exports = { output: 'standalone', outputFileTracingRoot: __dirname, turbopack: { root: __dirname }, poweredByHeader: false };
