package refresh

import "syscall"

// dieWithTest ends a server along with the test, however that ends.
func dieWithTest(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
