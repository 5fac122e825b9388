// want: a
if (true) {
  console.log("a")
}
