// Stands for what a build makes.
require('http').createServer((request, response) => response.end('ok\n')).listen(process.env.PORT);
