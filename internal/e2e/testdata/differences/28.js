// want: x
const fs = require('fs')
fs.watch('.', (event, name) => { console.log(name); process.exit(0) })
fs.writeFileSync('x', '1')
