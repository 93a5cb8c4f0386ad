//go:build unix && !linux

package refresh

import "syscall"

func dieWithTest(*syscall.SysProcAttr) {}
