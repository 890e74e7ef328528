// What keeps a Pod's namespaces while its containers come and go.
module lateen.dev/e2e/pause

go 1.26.0
