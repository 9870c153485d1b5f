/**
 * Start Swagger UI with this server's OpenAPI description. It is a separate file so that the page needs no inline script.
 *
 * The description says nothing about where the server is reached, and Swagger UI would take the root of the host. Behind
 * a proxy the server may sit under a path prefix, which is this page's own folder.
 */
async function start() {
  const folder = new URL(".", document.baseURI);
  const spec = await (await fetch(new URL("openapi.json", folder))).json();
  spec.servers = [{ url: folder.pathname.replace(/\/$/, "") || "/" }];
  SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    layout: "BaseLayout",
    deepLinking: true,
    showExtensions: true,
    showCommonExtensions: true,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    syntaxHighlight: { theme: "obsidian" }, // the default one lacks contrast
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  });
}

start();
