cat(sum(scan(file("stdin"), quiet = TRUE)), fill = TRUE)
