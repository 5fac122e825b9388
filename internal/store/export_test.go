package store

// OpenWith is Open with another driver of database/sql.
var OpenWith = openWith

// DSN is what a reader opens.
func DSN(path string) string { return dsn(path, "ro", Defaults().BusyTimeout) }
