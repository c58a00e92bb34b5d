// Draws the API's documentation. A file of its own: the page's policy allows no inline scripts.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // the online validator would be asked about this installation
});
