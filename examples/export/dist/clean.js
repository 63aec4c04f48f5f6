console.log('clean');
