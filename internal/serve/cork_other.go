//go:build !linux

package serve

import "syscall"

func cork(syscall.RawConn, int) {}
