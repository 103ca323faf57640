// Reads a compose file as `docker compose config` does, with the same library, and fails on whatever
// that refuses: fields that do not exist, services that depend on missing ones, volumes that are not declared.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: compose FILE")
		os.Exit(2)
	}
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithResolvedPaths(true))
	if err == nil {
		var project fmt.Stringer
		project, err = load(options)
		if err == nil {
			fmt.Println(project)
			return
		}
	}
	fmt.Fprintf(os.Stderr, "compose: %s: %v\n", os.Args[1], err)
	os.Exit(1)
}

type names []string

func (all names) String() string { return fmt.Sprint([]string(all)) }

func load(options *cli.ProjectOptions) (fmt.Stringer, error) {
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return nil, err
	}
	return names(project.ServiceNames()), nil
}
