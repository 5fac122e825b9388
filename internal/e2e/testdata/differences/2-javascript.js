console.log("a") // want: a
