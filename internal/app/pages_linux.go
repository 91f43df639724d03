package app

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// releaseProgram has the kernel take the pages of the program's own file out of this process's memory. Initialisation, migrations, the
// description of the API and rare requests touch nearly all of them; those that are needed again come back from the page cache, sixteen at a
// time, for a microsecond or two. It is the kernel's cache that held them, and still does while it has room: this changes what is
// counted as this process's, not what the machine has left.
func releaseProgram() {
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // without /proc they stay until the kernel needs the memory
	}
	defer maps.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for _, m := range unchanged(maps, self) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED) // one that is refused stays
	}
}

type mapping struct{ from, to uintptr }

// unchanged are the mappings of a file, as told in smaps (proc_pid_smaps(5)), that cannot be written and have no page that differs from
// the file: they lose nothing with their pages.
func unchanged(smaps io.Reader, file string) (found []mapping) {
	var m mapping
	ours := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		if from, to, ok := strings.Cut(fields[0], "-"); ok && !strings.HasSuffix(fields[0], ":") {
			ours = len(fields) == 6 && fields[5] == file && strings.HasPrefix(fields[1], "r-")
			m = mapping{address(from), address(to)}
		}
		if ours && fields[0] == "Anonymous:" && fields[1] == "0" {
			found = append(found, m)
		}
	}
	return found
}

func address(hex string) uintptr {
	n, _ := strconv.ParseUint(hex, 16, 64) // as the kernel writes it
	return uintptr(n)
}
