prime <- function(n) {
  d <- 2
  while (d * d <= n) {
    if (n %% d == 0) return(FALSE)
    d <- d + 1
  }
  TRUE
}
below <- 80000
cat(below, sum(sapply(2:(below - 1), prime)), "\n")
