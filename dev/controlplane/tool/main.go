// What the scripts need and a new machine may lack: pki makes certificates and kubeconfigs, get reads a URL.
package main

import (
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "tool", Short: "what the scripts of the local control plane need"}
	root.AddCommand(newPKICommand(), newGetCommand())
	if root.Execute() != nil {
		os.Exit(1)
	}
}
