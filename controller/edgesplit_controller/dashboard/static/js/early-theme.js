// The chosen theme, before the first paint: a module would run after it and flash the other ground.
try {
  const theme = localStorage.getItem("edgesplit-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing shows what its system prefers.
}
