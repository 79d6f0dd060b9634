// Starts GraphiQL with the bundled packages: the example queries are its first tabs.
"use strict";
fetch("/graphiql/examples.json")
  .then((answer) => answer.json())
  .then((examples) => {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const fetcher = GraphiQL.createFetcher({
      url: "/graphql",
      wsClient: graphqlWs.createClient({ url: `${scheme}://${location.host}/graphql`, retryAttempts: 3 }),
    });
    ReactDOM.createRoot(document.getElementById("graphiql")).render(
      React.createElement(GraphiQL, { fetcher, defaultTabs: examples, defaultEditorToolsVisibility: true }),
    );
  });
