//go:build linux && integration

package main

const sysProcessVMReadv = 310
