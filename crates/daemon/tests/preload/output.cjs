// Writes more than a pipe holds, and exits.
'use strict';
const stream = process[process.argv[2]];
for (let number = 0; number < 20_000; number += 1) stream.write(`line ${number} ${'x'.repeat(60)}\n`);
process.exit(1);
