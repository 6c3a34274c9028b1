// Keeps the page as high as what can be seen of it: where a keyboard on the screen lies over the page
// (Safari on phones), the browser tells only the visual viewport.

export function fitViewport(viewport = window.visualViewport) {
  if (!viewport) return;
  const fit = () => {
    // Zoomed in, one sees a part of the page, which stays as it is.
    if (viewport.scale > 1.01) return;
    const covered = window.innerHeight - viewport.height > 1;
    document.documentElement.style.setProperty("--page-height", covered ? `${viewport.height}px` : "100dvh");
    if (covered) window.scrollTo(0, 0);
  };
  viewport.addEventListener("resize", fit);
  viewport.addEventListener("scroll", fit);
}
