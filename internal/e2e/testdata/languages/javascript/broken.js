console.log("before");
let x = ;
