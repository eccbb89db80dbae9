// One binary for every server of the local control plane, so that it links once: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler, chosen by the first argument. What clients need starts faster
// without them: ../kubectl and ../tool.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: servers etcd|kube-apiserver|kube-controller-manager|kube-scheduler ...")
		os.Exit(2)
	}
	part := os.Args[1]
	if part == "etcd" {
		etcdmain.Main(os.Args[1:])
		return
	}
	command, known := commands[part]
	if !known {
		fmt.Fprintf(os.Stderr, "servers: no part %q\n", part)
		os.Exit(2)
	}
	// Each part parses os.Args itself, and must see only its own.
	os.Args = os.Args[1:]
	os.Exit(cli.Run(command()))
}
