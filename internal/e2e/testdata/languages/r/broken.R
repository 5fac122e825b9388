x <- )
cat("never\n")
