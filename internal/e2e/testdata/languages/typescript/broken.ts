console.log("before");
let x: number = ;
