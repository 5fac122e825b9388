puts "before"
def f(
