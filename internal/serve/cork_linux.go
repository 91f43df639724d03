package serve

import "syscall"

// cork has the kernel hold back what does not fill a packet, so that headers leave together with the file that follows them: alone, they
// cost a packet and wake the client for nothing. The last packet leaves when it is lifted. A socket that knows no cork sends as ever.
func cork(socket syscall.RawConn, on int) {
	_ = socket.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, on) //nolint:gosec // a descriptor
	})
}
