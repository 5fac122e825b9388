enum Word {
  Before = "before",
}
function fail(why: string): never {
  throw new Error(why);
}
console.log(Word.Before);
fail("boom");
