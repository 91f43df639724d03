// Command weir is the Weir registry: the server, and the command line that talks to it.
package main

import "os"

func main() { os.Exit(run(os.Args[0], os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
